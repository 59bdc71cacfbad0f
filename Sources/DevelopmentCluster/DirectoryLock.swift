import Foundation

/// Keeps two runs of `penstock dev` from sharing a directory. The system lets go of it when the process ends, however it ends.
final class DirectoryLock: Sendable {
    private let descriptor: Int32

    init(_ directory: String) throws {
        // Why close on exec: the server outlives us by a moment, and must not hold the lock.
        self.descriptor = open("\(directory)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard self.descriptor >= 0 else { throw DevelopmentCluster.Failure("cannot write to \(directory)") }
        guard flock(self.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw DevelopmentCluster.Failure(
                "another `penstock dev` is using \(directory); stop it, or give this one another directory with --data-dir"
            )
        }
    }

    /// Lets others have the directory.
    func release() {
        _ = flock(self.descriptor, LOCK_UN)
    }

    deinit {
        if self.descriptor >= 0 { _ = close(self.descriptor) }
    }
}
