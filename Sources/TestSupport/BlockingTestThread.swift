import Foundation

/// A thread for calls that block, so that tests do not starve the cooperative pool.
package enum BlockingTestThread {
    package static func run<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }
}
