import Logging
import NIOSSL
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The certificate that new connections get. It can be replaced while the listener runs; open connections keep theirs.
final class TLSContextHolder: Sendable {
    /// What tells that a file was replaced.
    private struct FileMark: Equatable {
        var inode: UInt64
        var size: Int64
        var seconds: Int
        var nanoseconds: Int
    }

    private struct State {
        var context: NIOSSLContext
        var expiry: Int64
        var marks: [FileMark?]
    }

    private let security: HTTPTransportSecurity
    private let versions: [HTTPProtocolVersion]
    private let logger: Logger
    private let state: Mutex<State>

    /// Throws ``TLSFileError``.
    init(_ security: HTTPTransportSecurity, versions: [HTTPProtocolVersion], logger: Logger) throws {
        self.security = security
        self.versions = versions
        self.logger = logger
        // The marks come first: a file that is replaced meanwhile is read again.
        let marks = Self.marks(security)
        let (context, expiry) = try security.makeContext(versions: versions)
        self.state = Mutex(State(context: context, expiry: expiry, marks: marks))
    }

    var context: NIOSSLContext { self.state.withLock { $0.context } }
    var expiry: Int64 { self.state.withLock { $0.expiry } }

    /// Reads the files again. Returns false, and goes on with what it has, when they are not good. Blocks.
    func reload() -> Bool {
        let marks = Self.marks(self.security)
        do {
            let (context, expiry) = try self.security.makeContext(versions: self.versions)
            self.state.withLock { $0 = State(context: context, expiry: expiry, marks: marks) }
            self.logger.info("certificate loaded again", metadata: ["path": "\(self.security.certificateChainPath)"])
            return true
        } catch {
            // Not tried again before the files change once more.
            self.state.withLock { $0.marks = marks }
            self.logger.error("certificate not loaded, the old one stays in use", metadata: ["error": "\(error)"])
            return false
        }
    }

    /// Reloads if a file has changed. Blocks.
    func reloadIfChanged() {
        let marks = Self.marks(self.security)
        guard self.state.withLock({ $0.marks != marks }) else { return }
        _ = self.reload()
    }

    private static func marks(_ security: HTTPTransportSecurity) -> [FileMark?] {
        security.paths.map { path in
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            #if canImport(Glibc)
                let time = status.st_mtim
            #else
                let time = status.st_mtimespec
            #endif
            return FileMark(
                inode: UInt64(status.st_ino), size: Int64(status.st_size), seconds: time.tv_sec,
                nanoseconds: time.tv_nsec)
        }
    }
}
