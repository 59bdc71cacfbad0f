import NIOCore
import WebAddresses

extension IPAddress {
    /// The address of a peer; nil for one that has none, such as a Unix socket's.
    init?(_ address: SocketAddress) {
        let bytes = address.withSockAddr { pointer, size in Array(UnsafeRawBufferPointer(start: pointer, count: size)) }
        switch address {
        // Where the address lies in `sockaddr_in` and `sockaddr_in6`.
        case .v4 where bytes.count >= 8: self.init(bytes: bytes[4..<8])
        case .v6 where bytes.count >= 24: self.init(bytes: bytes[8..<24])
        default: return nil
        }
    }
}
