/// What responses to reads say about being kept.
package struct CachePolicy: Hashable, Sendable {
    package enum Scope: String, Hashable, Sendable {
        /// Shared caches may keep what they see.
        case shared = "public"
        /// Only the client's own cache may.
        case user = "private"
        /// Nobody may.
        case none = "no-store"
    }

    package var scope: Scope
    package var maximumAgeSeconds: UInt64
    package var staleWhileRevalidateSeconds: UInt64
    /// How long ranges are kept that end before the tail, or at the end of a closed stream: they never change. nil treats
    /// them like others.
    package var sealedMaximumAgeSeconds: UInt64?

    package init(
        scope: Scope = .shared, maximumAgeSeconds: UInt64 = 60, staleWhileRevalidateSeconds: UInt64 = 300,
        sealedMaximumAgeSeconds: UInt64? = nil
    ) {
        self.scope = scope
        self.maximumAgeSeconds = maximumAgeSeconds
        self.staleWhileRevalidateSeconds = staleWhileRevalidateSeconds
        self.sealedMaximumAgeSeconds = sealedMaximumAgeSeconds
    }

    package static let noStore = "no-store"
    package static let noCache = "no-cache"

    /// The value of `Cache-Control` for data.
    package func value(isSealed: Bool) -> String {
        if self.scope == .none { return Self.noStore }
        if isSealed, let seconds = self.sealedMaximumAgeSeconds {
            return "\(self.scope.rawValue), max-age=\(seconds), immutable"
        }
        let value = "\(self.scope.rawValue), max-age=\(self.maximumAgeSeconds)"
        guard self.staleWhileRevalidateSeconds > 0 else { return value }
        return value + ", stale-while-revalidate=\(self.staleWhileRevalidateSeconds)"
    }
}
