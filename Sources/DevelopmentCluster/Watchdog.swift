import Foundation
import Synchronization

/// A small shell that stops the server when this process is gone, even if it was killed: it waits at the end of a pipe of which this
/// process holds the other.
final class Watchdog: Sendable {
    private let pipe: Pipe
    private let process: Mutex<Process?>

    init(dataDirectory: String) throws {
        let script = """
            trap '' INT TERM HUP QUIT
            read -r line
            if [ "$line" != done ]; then
                pid=$(head -n 1 "$0/postmaster.pid" 2>/dev/null)
                if [ -n "$pid" ]; then kill -INT "$pid" 2>/dev/null; fi
            fi
            """
        self.pipe = Pipe()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", script, dataDirectory]
        process.standardInput = self.pipe.fileHandleForReading
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        _ = fcntl(self.pipe.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
        try process.run()
        self.process = Mutex(process)
    }

    /// The server has been stopped: the watchdog has nothing to do any more.
    func release() {
        try? self.pipe.fileHandleForWriting.write(contentsOf: Data("done\n".utf8))
        try? self.pipe.fileHandleForWriting.close()
    }
}
