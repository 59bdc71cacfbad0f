import Foundation

#if canImport(Glibc)
    import Glibc
#endif

/// What a finished child process left behind.
package struct ChildOutcome: Sendable {
    package var status: Int32
    /// Standard output and standard error together.
    package var output: String
}

/// A program that could not be started, or failed.
package struct ChildProcessError: Error, CustomStringConvertible {
    package var description: String

    package init(_ description: String) {
        self.description = description
    }
}

/// Runs programs. Waiting happens on a thread of its own, never on the cooperative pool.
package enum ChildProcess {
    /// Runs a program to its end and collects its output.
    package static func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:], directory: String? = nil
    ) async throws -> ChildOutcome {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    with: Result {
                        try Self.runBlocking(arguments, input: input, environment: environment, directory: directory)
                    })
            }
        }
    }

    /// Runs a program to its end; throws when it fails.
    @discardableResult
    package static func check(
        _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) async throws -> String {
        let outcome = try await Self.run(arguments, input: input, environment: environment)
        guard outcome.status == 0 else {
            throw ChildProcessError(
                "\(arguments.joined(separator: " ")) ended with \(outcome.status):\n\(outcome.output)")
        }
        return outcome.output
    }

    package static func runBlocking(
        _ arguments: [String], input: String = "", environment: [String: String] = [:], directory: String? = nil
    ) throws -> ChildOutcome {
        // Why files and not pipes: a daemon that inherits a pipe would keep it open, and us waiting for its end.
        let stem = NSTemporaryDirectory() + "/penstock-child-\(UUID().uuidString)"
        defer {
            unlink(stem + ".in")
            unlink(stem + ".out")
        }
        guard FileManager.default.createFile(atPath: stem + ".in", contents: Data(input.utf8)),
            FileManager.default.createFile(atPath: stem + ".out", contents: nil)
        else { throw ChildProcessError("cannot write to \(stem)") }
        let child = try Self.spawn(
            arguments, environment: environment, directory: directory, input: stem + ".in", output: stem + ".out")
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        let output = FileManager.default.contents(atPath: stem + ".out") ?? Data()
        let code = status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
        return ChildOutcome(status: code, output: String(decoding: output, as: UTF8.self))
    }

    /// Starts a program with its standard streams bound to files. The caller waits for it.
    package static func spawn(
        _ arguments: [String], environment: [String: String] = [:], directory: String? = nil,
        input: String = "/dev/null",
        output: String = "/dev/null", inputDescriptor: Int32 = -1
    ) throws -> pid_t {
        // posix_spawn has no portable way to change the directory.
        let arguments = directory.map { ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", $0] + arguments } ?? arguments
        #if canImport(Darwin)
            var actions: posix_spawn_file_actions_t?
        #else
            var actions = posix_spawn_file_actions_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if inputDescriptor >= 0 {
            posix_spawn_file_actions_adddup2(&actions, inputDescriptor, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        let merged = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = merged.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        var child: pid_t = 0
        let status = posix_spawnp(&child, arguments[0], &actions, nil, &argv, &envp)
        guard status == 0 else {
            throw ChildProcessError("cannot start \(arguments[0]): \(String(cString: strerror(status)))")
        }
        return child
    }
}
