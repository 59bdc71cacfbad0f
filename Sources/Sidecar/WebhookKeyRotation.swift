import Configuration
import Observability
import WebhookDelivery

/// Replaces the key of webhooks on a disk, whether a server runs there or not; one that runs takes it up on SIGHUP.
package struct WebhookKeyRotation: Sendable {
    /// The new key.
    package let id: String
    /// When it begins to sign, in milliseconds since 1970.
    package let usedFrom: UInt64

    /// - Parameter isUrgent: the new key signs at once, and is not published before.
    package init(_ settings: StreamServerSettings, isUrgent: Bool) throws {
        guard let place = StreamServer.controlDirectory(settings) else {
            throw StreamArchive.Failure(description: "The streams are in memory: there is no key to replace.")
        }
        try StreamStorage.checkPresence(settings)
        let now = SystemTime.milliseconds()
        do {
            (self.id, self.usedFrom) = try WebhookKeys(directory: place, at: now).rotate(at: now, isUrgent: isUrgent)
        } catch {
            throw StreamArchive.Failure(description: "The key of webhooks in \(place) cannot be replaced: \(error)")
        }
    }
}
