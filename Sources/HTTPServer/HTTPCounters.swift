import Synchronization

/// What the listeners of the process have answered since its start.
///
/// A response costs one addition. Bytes are added up by each connection, and handed over when its clock is looked at.
package final class HTTPCounters: Sendable {
    private let informational = Atomic<UInt64>(0)
    private let successful = Atomic<UInt64>(0)
    private let redirected = Atomic<UInt64>(0)
    private let clientErrors = Atomic<UInt64>(0)
    private let serverErrors = Atomic<UInt64>(0)
    private let sent = Atomic<UInt64>(0)
    private let largeBodies = Atomic<UInt64>(0)

    package init() {}

    /// Responses by the first digit of their status.
    package func responses(ofClass digit: Int) -> UInt64 {
        switch digit {
        case ..<2: self.informational.load(ordering: .relaxed)
        case 2: self.successful.load(ordering: .relaxed)
        case 3: self.redirected.load(ordering: .relaxed)
        case 4: self.clientErrors.load(ordering: .relaxed)
        default: self.serverErrors.load(ordering: .relaxed)
        }
    }

    /// Bytes of responses as they were given to the connections: before TLS and the frames of HTTP/2.
    package var sentBytes: UInt64 { self.sent.load(ordering: .relaxed) }
    /// Requests whose body was larger than their route takes.
    package var refusedBodies: UInt64 { self.largeBodies.load(ordering: .relaxed) }

    func answered(status: UInt) {
        switch status {
        case 200..<300: self.successful.wrappingAdd(1, ordering: .relaxed)
        case 400..<500: self.clientErrors.wrappingAdd(1, ordering: .relaxed)
        case 300..<400: self.redirected.wrappingAdd(1, ordering: .relaxed)
        case 500...: self.serverErrors.wrappingAdd(1, ordering: .relaxed)
        default: self.informational.wrappingAdd(1, ordering: .relaxed)
        }
    }

    func wrote(_ bytes: Int) { self.sent.wrappingAdd(UInt64(bytes), ordering: .relaxed) }
    func refusedBody() { self.largeBodies.wrappingAdd(1, ordering: .relaxed) }
}
