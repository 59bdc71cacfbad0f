import DurableStreams
import Foundation
import NIOCore
import StreamStore
import Testing
import WebhookDelivery

/// The life of the keys that sign webhooks.
@Suite(.timeLimit(.minutes(1)))
struct WebhookKeyTests {
    private static let day: UInt64 = 86_400_000
    private static let overlap: UInt64 = 300_000
    private let folder: TestFolder

    init() throws { self.folder = try TestFolder() }

    private func published(at now: UInt64, _ keys: WebhookKeys) throws -> [String] {
        guard case .bytes(let body) = keys.keySet(at: now).body else { return [] }
        return try #require(JSONValue(body)?["keys"]?.arrayValue).compactMap { $0["kid"]?.stringValue }
    }

    private func signer(at now: UInt64, _ keys: WebhookKeys) throws -> String {
        let header = try #require(keys.signature(of: ByteBuffer(string: "{}"), at: now))
        let part = try #require(header.split(separator: ",").first { $0.hasPrefix("kid=") })
        return String(part.dropFirst(4))
    }

    @Test func aKeyIsPublishedBeforeItsFirstUseAndAfterItsLast() throws {
        let keys = try WebhookKeys(directory: self.folder.path, at: 1000)
        let first = keys.currentID(at: 1000)
        #expect(first.hasPrefix("ds_"))
        #expect(try WebhookKeys(directory: self.folder.path, at: 2000).currentID(at: 2000) == first)
        let attributes = try FileManager.default.attributesOfItem(atPath: self.folder.path + "/webhook-keys.json")
        #expect(attributes[.posixPermissions] as? Int == 0o600)

        let now = 2 * Self.day
        let next = try keys.rotate(at: now)
        #expect(next.usedFrom == now + Self.overlap)
        // A start in the middle changes nothing.
        for keys in [keys, try WebhookKeys(directory: self.folder.path, at: now)] {
            #expect(try self.published(at: now, keys) == [next.id, first])
            #expect(try self.signer(at: next.usedFrom - 1, keys) == first)
            #expect(keys.currentID(at: next.usedFrom - 1) == first)
            #expect(try self.signer(at: next.usedFrom, keys) == next.id)
            #expect(try self.published(at: next.usedFrom + Self.overlap - 1, keys) == [next.id, first])
            #expect(try self.published(at: next.usedFrom + Self.overlap, keys) == [next.id])
        }
    }

    @Test func anUrgentKeyTakesOverAtOnceAndReplacesOneThatWasToCome() throws {
        let keys = try WebhookKeys(directory: self.folder.path, at: 0)
        let first = keys.currentID(at: 0)
        let planned = try keys.rotate(at: Self.day)
        let urgent = try keys.rotate(at: Self.day + 1, isUrgent: true)
        #expect(try self.signer(at: Self.day + 1, keys) == urgent.id)
        #expect(try self.published(at: Self.day + 1, keys) == [urgent.id, first])
        #expect(try self.signer(at: Self.day * 2, keys) != planned.id)
    }

    @Test func theAgeOfAKeySurvivesARestart() throws {
        let age = 90 * Self.day
        let first = try WebhookKeys(directory: self.folder.path, at: Self.day).currentID(at: Self.day)
        let again = try WebhookKeys(directory: self.folder.path, at: 50 * Self.day)
        #expect(try again.rotate(at: Self.day + age - 1, ifOlderThan: age) == nil)
        let next = try #require(try again.rotate(at: Self.day + age, ifOlderThan: age))
        #expect(next.id != first)
        // Not again before its own time.
        #expect(try again.rotate(at: Self.day + age + 60_000, ifOlderThan: age) == nil)
        #expect(try self.signer(at: next.usedFrom, WebhookKeys(directory: self.folder.path, at: next.usedFrom)) == next.id)
    }

    @Test func aKeyOfAnEarlierVersionAgesFromTheFirstStartOn() throws {
        let file = self.folder.path + "/webhook-keys.json"
        let secret = String(repeating: "07", count: 32)
        try "{\"version\":1,\"keys\":[{\"secret\":\"\(secret)\"}]}".write(
            toFile: file, atomically: true, encoding: .utf8)
        let id = try WebhookKeys(directory: self.folder.path, at: Self.day).currentID(at: Self.day)
        let again = try WebhookKeys(directory: self.folder.path, at: 5 * Self.day)
        #expect(again.currentID(at: 5 * Self.day) == id)
        #expect(try again.rotate(at: 11 * Self.day - 1, ifOlderThan: 10 * Self.day) == nil)
        #expect(try again.rotate(at: 11 * Self.day, ifOlderThan: 10 * Self.day) != nil)
    }

    @Test func whatAnotherProcessRotatedIsTakenUpAndNotLost() throws {
        let server = try WebhookKeys(directory: self.folder.path, at: 0)
        let first = server.currentID(at: 0)
        let other = try WebhookKeys(directory: self.folder.path, at: Self.day).rotate(at: Self.day)
        #expect(try self.published(at: Self.day, server) == [first])
        try server.reload(at: Self.day)
        #expect(try self.published(at: Self.day, server) == [other.id, first])
        // Without looking first, too.
        let late = try WebhookKeys(directory: self.folder.path, at: Self.day)
        let third = try late.rotate(at: 2 * Self.day)
        let fourth = try server.rotate(at: 3 * Self.day)
        #expect(try self.published(at: 3 * Self.day, server) == [fourth.id, third.id])
        // A damaged file is told, and the keys at hand stay.
        try "no keys".write(toFile: self.folder.path + "/webhook-keys.json", atomically: true, encoding: .utf8)
        #expect(throws: StoreError.self) { try server.reload(at: 3 * Self.day) }
        #expect(try self.published(at: 3 * Self.day, server) == [fourth.id, third.id])
    }
}
