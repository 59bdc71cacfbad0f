import DurableStreams
import NIOCore
import StreamStore

final class FileEngine: Sendable {
    static func open(_ configuration: StreamDirectoryConfiguration, fileSystem: any FileSystem) throws(StoreError) -> (FileEngine, RecoveredStreams) {
        throw StoreError(.invalidState, "not here yet")
    }
    func flush() {}
    func checkpoint(_ directory: StreamDirectory) throws(StoreError) {}
    func start(_ directory: StreamDirectory) {}
    func append(_ change: Change, head: ByteBuffer, body: ByteBuffer?) throws(StreamError) -> UInt64 { 0 }
    func read(_ stored: StreamDirectory.StoredPart, upTo cap: UInt64, into gathering: inout StreamDirectory.Gathering) throws(StoreError) {}
    func close(_ directory: StreamDirectory) throws(StoreError) {}
    func checkpointQuietly(_ directory: StreamDirectory) {}
    func syncQuietly() {}
}
