import Foundation
import TestSupport

/// What users feel, against the machine's own limits: every figure is a ratio to something measured in the same run.
///
///     PenstockBenchmarks [--quick] [NAME...]
@main
struct PenstockBenchmarks {
    private static let names = ["memory", "backlog", "latency", "triggers", "fanout", "initial", "writes"]

    static func main() async {
        do {
            var arguments = Array(CommandLine.arguments.dropFirst())
            if arguments.first == "bare-server", let port = arguments.last.flatMap({ Int($0) }) {
                try await BareServer.run(port: port)
                return
            }
            let isQuick = arguments.contains("--quick")
            arguments.removeAll { $0 == "--quick" }
            for name in arguments where !self.names.contains(name) {
                throw BenchmarkError("there is no benchmark \(name); there are \(self.names.joined(separator: ", "))")
            }
            try await self.run(arguments.isEmpty ? self.names : arguments, isQuick: isQuick)
        } catch {
            Bench.say("\(error)")
            exit(1)
        }
    }

    private static func run(_ names: [String], isQuick: Bool) async throws {
        self.raiseFileLimit()
        let bench = try await Bench(isQuick: isQuick, packageDirectory: FileManager.default.currentDirectoryPath)
        var failures: [String] = []
        for name in names {
            Bench.say(name)
            do {
                // A thread of its own: these block.
                try await BlockingTestThread.run { try self.measure(name, bench) }
            } catch {
                failures.append("\(name): \(error)")
                Bench.say("  failed: \(error)")
            }
        }
        await bench.close()
        print(Figure.table(bench.figures))
        guard failures.isEmpty else { throw BenchmarkError("failed: \(failures.count) of \(names.count)") }
    }

    private static func measure(_ name: String, _ bench: Bench) throws {
        // Why: threads of the runtime block signals, children inherit that, and pgbench waits for SIGALRM to stop.
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        switch name {
        case "memory": try MemoryBenchmark(bench).run()
        case "backlog": try BacklogBenchmark(bench).run()
        case "latency": try LatencyBenchmark(bench).run()
        case "triggers": try TriggerBenchmark(bench).run()
        case "fanout": try FanoutBenchmark(bench).run()
        case "initial": try InitialSyncBenchmark(bench).run()
        default: try WriteBenchmark(bench).run()
        }
    }

    /// A thousand clients here are a thousand connections there; children inherit the limit.
    private static func raiseFileLimit() {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_max, 65_536)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
