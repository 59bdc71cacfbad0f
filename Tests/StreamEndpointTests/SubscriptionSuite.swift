import Crypto
import DurableStreams
import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import Testing
import WebhookDelivery

/// What tests of subscriptions have in common: a server with a control API, and requests to it over real sockets.
protocol SubscriptionSuite {}

extension SubscriptionSuite {
    static var control: String { StreamClient.root + "/__ds" }
    static var json: [String: String] { ["content-type": "application/json"] }

    func withServer(
        _ mode: TestMode = .memory, folder: TestFolder? = nil,
        _ change: @escaping @Sendable (inout SubscriptionControl.Configuration) -> Void = { _ in },
        _ body: (EndpointServer) async throws -> Void
    ) async throws {
        try await EndpointServer.with(
            mode,
            {
                $0.folder = folder
                $0.control = { directory, clock, folder in
                    let path = mode == .memory ? nil : folder.path + "/control"
                    var configuration = SubscriptionControl.Configuration(
                        rootURL: "http://streams.example/v1/stream", directory: path)
                    configuration.allowsLocalWebhooks = true
                    configuration.tick = 20
                    configuration.firstRetry = 100
                    configuration.longestRetry = 400
                    configuration.reconcile = 100
                    change(&configuration)
                    return try SubscriptionControl(
                        configuration, streams: directory, sender: HTTPWebhookSender(),
                        keys: try WebhookKeys(directory: path, at: clock.now()), clock: { clock.now() },
                        logger: EndpointServer.silent)
                }
            }
        ) { server in
            server.control?.start(on: server.directoryLoop)
            try await body(server)
        }
    }

    func put(_ server: EndpointServer, _ id: String, _ body: String) async throws -> Answer {
        try await server.client.request(.PUT, "\(Self.control)/subscriptions/\(id)", Self.json, body)
    }

    func get(_ server: EndpointServer, _ id: String) async throws -> Answer {
        try await server.client.request(.GET, "\(Self.control)/subscriptions/\(id)")
    }

    func post(
        _ server: EndpointServer, _ id: String, _ what: String, _ body: String, token: String? = nil
    ) async throws -> Answer {
        var headers = Self.json
        if let token { headers["authorization"] = "Bearer \(token)" }
        return try await server.client.request(.POST, "\(Self.control)/subscriptions/\(id)/\(what)", headers, body)
    }

    func webhook(_ receiver: WebhookReceiver, pattern: String = "t/**", more: String = "") -> String {
        "{\"type\":\"webhook\",\"pattern\":\"\(pattern)\",\"webhook\":{\"url\":\"\(receiver.url)\"}\(more)}"
    }

    func pull(pattern: String = "t/**", wake: String = "wakes", more: String = "") -> String {
        "{\"type\":\"pull-wake\",\"pattern\":\"\(pattern)\",\"wake_stream\":\"\(wake)\"\(more)}"
    }

    func acked(_ answer: Answer, _ name: String) -> String? {
        answer.json?["streams"]?.arrayValue?.first { $0["path"]?.stringValue == name }?["acked_offset"]?.stringValue
    }

    func check(_ request: WebhookReceiver.Received, keys: Answer) throws {
        let header = try #require(request.headers.first(name: "webhook-signature"))
        var parts: [String: String] = [:]
        for part in header.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1)
            parts[String(pair[0])] = String(pair[1])
        }
        let time = try #require(UInt64(parts["t"] ?? ""))
        #expect(abs(Double(time) - Date().timeIntervalSince1970) < 60)
        let list = try #require(keys.json?["keys"]?.arrayValue)
        let key = try #require(list.first { $0["kid"]?.stringValue == parts["kid"] })
        #expect(key["kty"]?.stringValue == "OKP")
        #expect(key["crv"]?.stringValue == "Ed25519")
        let point = try #require(Self.decoded(key["x"]?.stringValue ?? ""))
        let signature = try #require(Self.decoded(parts["ed25519"] ?? ""))
        let publicKey = try Curve25519.Signing.PublicKey(rawRepresentation: point)
        let signed = Data("\(time).".utf8) + Data(request.body.readableBytesView)
        #expect(publicKey.isValidSignature(signature, for: signed))
        #expect(!publicKey.isValidSignature(signature, for: signed + [0]))
    }

    private static func decoded(_ text: String) -> Data? {
        #expect(!text.contains("="))
        var text = text.replacingOccurrences(of: "-", with: "+").replacingOccurrences(of: "_", with: "/")
        while text.count % 4 != 0 { text += "=" }
        return Data(base64Encoded: text)
    }
}
