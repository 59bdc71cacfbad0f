import Foundation
import NIOCore
import ChildProcesses
import TestSupport

/// A child process that ends with us, however we end: a small shell waits at a pipe that only we hold open.
final class WatchedProcess {
    let pid: pid_t
    private let watchdog: pid_t
    private let pipeEnd: Int32
    private var isRunning = true

    init(_ arguments: [String], environment: [String: String] = [:], output: String) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw BenchmarkError("cannot make a pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        self.pid = try ChildProcess.spawn(arguments, environment: environment, output: output)
        self.watchdog = try ChildProcess.spawn(
            ["/bin/sh", "-c", "trap '' INT TERM HUP; read -r line || kill -KILL $0 2>/dev/null", String(self.pid)],
            inputDescriptor: ends[0])
        close(ends[0])
        self.pipeEnd = ends[1]
    }

    deinit { self.stop(SIGKILL) }

    func signal(_ signal: Int32) { kill(self.pid, signal) }

    var hasEnded: Bool {
        guard self.isRunning else { return true }
        var status: Int32 = 0
        if waitpid(self.pid, &status, WNOHANG) == self.pid { self.forgetWatchdog() }
        return !self.isRunning
    }

    /// Ends the process; with force if it does not go in time.
    func stop(_ signal: Int32 = SIGTERM) {
        guard self.isRunning else { return }
        kill(self.pid, signal)
        let deadline = Clock.now + 15
        while !self.hasEnded {
            if Clock.now > deadline { kill(self.pid, SIGKILL) }
            usleep(5_000)
        }
    }

    private func forgetWatchdog() {
        self.isRunning = false
        // A line says that there is nothing to kill any more.
        _ = write(self.pipeEnd, "\n", 1)
        close(self.pipeEnd)
        var status: Int32 = 0
        while waitpid(self.watchdog, &status, 0) < 0 && errno == EINTR {}
    }

    /// Memory that is in RAM, in bytes.
    func residentBytes() throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(self.pid)/status", encoding: .utf8)
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") }),
            let kilobytes = line.split(whereSeparator: { !$0.isNumber }).first.flatMap({ Int($0) })
        else { throw BenchmarkError("the size of process \(self.pid) is not known") }
        return kilobytes * 1_024
    }
}

/// The real sidecar, as users start it.
final class SidecarProcess {
    let process: WatchedProcess
    let port: Int
    private let log: String

    init(binary: String, environment: [String: String], log: String) throws {
        self.port = try Self.freePort()
        self.log = log
        self.process = try WatchedProcess(
            [binary, "serve"], environment: environment.merging(["HTTP_PORT": String(self.port)]) { $1 }, output: log)
    }

    func stop() { self.process.stop() }

    func waitUntilReady(seconds: Double = 60) throws {
        do {
            try Clock.wait("the sidecar", seconds: seconds, every: 0.02) { try self.status().hasPrefix("HTTP/1.1 200") }
        } catch {
            let text = (try? String(contentsOfFile: self.log, encoding: .utf8)) ?? ""
            throw BenchmarkError("\(error); its log ends with:\n\(text.suffix(2_000))")
        }
    }

    /// What `/readyz` answers; empty while nobody does.
    func status() throws -> String {
        guard !self.process.hasEnded else { throw BenchmarkError("the sidecar has ended") }
        return (try? Self.get("/readyz", port: self.port)) ?? ""
    }

    /// A text in the answer of `/readyz`.
    static func fact(_ name: String, in status: String) -> String? {
        guard let start = status.range(of: "\"\(name)\":\"") else { return nil }
        return String(status[start.upperBound...].prefix { $0 != "\"" })
    }

    static func position(_ text: String?) -> UInt64 {
        let parts = (text ?? "").split(separator: "/").compactMap { UInt64($0, radix: 16) }
        return parts.count == 2 ? parts[0] << 32 | parts[1] : 0
    }

    private static func get(_ path: String, port: Int) throws -> String {
        let descriptor = try WebSocketClient.connect(port: port, receiveTimeout: 5)
        defer { close(descriptor) }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
        _ = send(descriptor, request, request.count, Int32(MSG_NOSIGNAL))
        var reply: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { break }
            reply.append(contentsOf: chunk[..<count])
        }
        return String(decoding: reply, as: UTF8.self)
    }

    static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { general in
                bind(descriptor, general, length) == 0 ? getsockname(descriptor, general, &length) : -1
            }
        }
        guard status == 0 else { throw BenchmarkError("no free port") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}
