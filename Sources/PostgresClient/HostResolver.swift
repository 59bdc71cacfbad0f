#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Turns a host name into the addresses to dial, by the configured family. It blocks, and is asked anew for each
/// connection, so that a database that moves to another address is found again.
enum HostResolver {
    /// Addresses in the order to be tried; empty when libpq shall resolve the name itself.
    static func addresses(for parameters: ConnectionParameters) throws(PostgresError) -> [String] {
        guard !parameters.isUnixSocket, !Self.isLiteral(parameters.host) else { return [] }
        switch parameters.addressChoice {
        case .any:
            return []
        case .ipv4Only:
            let found = Self.lookUp(parameters.host, family: AF_INET)
            if !found.isEmpty { return found }
            throw .client(
                "the host name \"\(parameters.host)\" has no IPv4 address",
                hint: "check DATABASE_URL, or set DATABASE_USE_IPV6=true", connectionLost: true)
        case .ipv6First:
            let found = Self.lookUp(parameters.host, family: AF_INET6)
            if !found.isEmpty { return found }
            let older = Self.lookUp(parameters.host, family: AF_INET)
            if !older.isEmpty { return older }
            throw .client("the host name \"\(parameters.host)\" does not resolve", connectionLost: true)
        }
    }

    private static func isLiteral(_ host: String) -> Bool {
        var storage = in6_addr()
        return inet_pton(AF_INET, host, &storage) == 1 || inet_pton(AF_INET6, host, &storage) == 1
    }

    private static func lookUp(_ host: String, family: Int32) -> [String] {
        var hints = addrinfo()
        hints.ai_family = family
        #if canImport(Glibc)
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        #else
            hints.ai_socktype = SOCK_STREAM
        #endif
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var found: [String] = []
        var next = list
        while let entry = next {
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let status = getnameinfo(
                entry.pointee.ai_addr, entry.pointee.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
            if status == 0 {
                let address = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                if !found.contains(address) { found.append(address) }
            }
            next = entry.pointee.ai_next
        }
        return found
    }
}
