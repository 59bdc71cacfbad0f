import StreamStore
import Synchronization

/// A disk for crash tests: it fails as told, and says what the next start finds.
package protocol SimulatedStorage: FileSystem, AnyObject {
    /// Where a store is to lie on it.
    var root: String { get }
    var faults: FaultyFileSystem.Faults { get set }
    /// Operations so far, those that may fail.
    var operationCount: Int { get }
    /// Bytes in all files.
    var usedBytes: Int { get }
    /// Ends this disk by power loss and returns what the next start finds, without faults.
    func afterCrash() throws -> any SimulatedStorage
    /// Ends this disk as far as its process goes and returns what the next process finds.
    func afterRestart() throws -> any SimulatedStorage
    /// From here on every operation fails, as for a process that is no more.
    func cutOff()
    /// Lets go of what it keeps outside of memory.
    func dispose()
}

extension FaultyFileSystem: SimulatedStorage {
    package var root: String { "/data/streams" }
    package var usedBytes: Int { self.files.values.reduce(0, +) }
    package func afterCrash() -> any SimulatedStorage { self.crash() }
    package func afterRestart() -> any SimulatedStorage { self.restart() }
    package func cutOff() { self.disk.withLock { $0.isOff = true } }
    package func dispose() {}
}
