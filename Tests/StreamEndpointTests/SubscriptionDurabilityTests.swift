import DurableStreams
import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing
import WebhookDelivery

/// What is left of subscriptions after a restart.
@Suite(.timeLimit(.minutes(1)))
struct SubscriptionDurabilityTests: SubscriptionSuite {
    @Test(arguments: TestMode.onDisk) func subscriptionsSurviveARestart(_ mode: TestMode) async throws {
        let folder = try TestFolder()
        let receiver = try await WebhookReceiver.start { _, count, responder in
            if count < 3 {
                responder.reply(.text("later", status: .serviceUnavailable))
            } else {
                WebhookReceiver.done(responder)
            }
        }
        var token: String?
        var fence = ""
        var names: (hook: String, pull: String) = ("", "")
        try await self.withServer(mode, folder: folder) { server in
            let (hooked, pulled) = (server.client.stream(named: "a/hooked"), server.client.stream(named: "b/pulled"))
            names = (hooked.name, pulled.name)
            #expect(try await self.put(server, "hook", self.webhook(receiver, pattern: "a/*")).status == 201)
            #expect(try await self.put(server, "pull", self.pull(pattern: "b/*")).status == 201)
            #expect(try await self.put(server, "gone", self.pull(pattern: "c/*")).status == 201)
            #expect(try await server.client.request(.DELETE, "\(Self.control)/subscriptions/gone").status == 204)
            try await hooked.create(body: "x")
            try await pulled.create(body: "y")
            let claim = try #require(try await self.post(server, "pull", "claim", "{\"worker\":\"w\"}").json)
            token = claim["token"]?.stringValue
            fence = "\"wake_id\":\"\(claim["wake_id"]?.stringValue ?? "")\",\"generation\":1"
            _ = try await receiver.wait(count: 1)
            let path = folder.path + "/control/subscriptions.json"
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(!text.contains(try #require(token)))
        }
        try await self.withServer(mode, folder: folder) { server in
            // The webhook that failed goes on, with the signature of the same key.
            let last = try #require(try await receiver.wait(count: 3).last)
            try self.check(last, keys: try await server.client.request(.GET, "\(Self.control)/jwks.json"))
            try await eventually("the webhook's wake was not acked") {
                self.acked(try await self.get(server, "hook"), names.hook) == "0000000000000000_0000000000000001"
            }
            let acks = "\"acks\":[{\"stream\":\"\(names.pull)\",\"offset\":\"0000000000000000_0000000000000001\"}]"
            let ack = try await self.post(server, "pull", "ack", "{\(fence),\(acks),\"done\":true}", token: token)
            #expect(ack.status == 200)
            #expect(try await self.put(server, "gone", self.pull(pattern: "c/*")).status == 409)
        }
        await receiver.stop()
    }

    @Test func aDamagedFileStopsTheStart() async throws {
        let folder = try TestFolder()
        try FileManager.default.createDirectory(atPath: folder.path + "/control", withIntermediateDirectories: true)
        try Data("{\"version\":1,\"sub".utf8).write(
            to: URL(fileURLWithPath: folder.path + "/control/subscriptions.json"))
        await #expect(throws: (any Error).self) { try await self.withServer(.fileFast, folder: folder) { _ in } }
    }
}
