import Synchronization

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Where the lines of a log go.
package protocol LogSink: Sendable {
    /// Takes one whole line, or several, with their line feeds.
    func write(_ line: String)
}

/// Standard error: one `write` for each line, so that the lines of several threads do not mix.
package struct StandardErrorSink: LogSink {
    package static let shared = StandardErrorSink()

    /// Why: a pipe takes only short writes whole; a partial one is finished before the next line may begin.
    private static let lock = Mutex(())

    package func write(_ line: String) {
        var line = line
        line.withUTF8 { bytes in
            Self.lock.withLock { _ in
                var rest = UnsafeRawBufferPointer(bytes)
                while !rest.isEmpty {
                    let count = writeToStandardError(rest)
                    if count > 0 {
                        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(count))
                    } else if count < 0, errno == EINTR {
                        continue
                    } else {
                        // There is nowhere left to complain: a line that cannot be written is lost.
                        return
                    }
                }
            }
        }
    }
}

private func writeToStandardError(_ bytes: UnsafeRawBufferPointer) -> Int {
    write(STDERR_FILENO, bytes.baseAddress, bytes.count)
}

/// Keeps the last lines in memory: for tests, and for showing what happened lately.
package final class LogMemory: LogSink {
    private let lines: Mutex<[String]>
    private let limit: Int

    /// Makes a memory that keeps at most `limit` lines; the oldest go first.
    package init(limit: Int = 1000) {
        self.limit = max(1, limit)
        self.lines = Mutex([])
    }

    package func write(_ line: String) {
        self.lines.withLock { lines in
            if lines.count >= self.limit { lines.removeFirst(lines.count - self.limit + 1) }
            lines.append(line)
        }
    }

    /// The lines held, the oldest first.
    package var contents: [String] { self.lines.withLock { $0 } }
}
