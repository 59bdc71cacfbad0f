import DurableStreams
import Foundation
import NIOCore
import Testing
import WebAddresses

@Suite("Patterns, addresses and signatures of subscriptions")
struct SubscriptionRulesTests {
    @Test(arguments: [
        ("events/*", "events/a", true), ("events/*", "events", false), ("events/*", "events/a/b", false),
        ("**", "a", true), ("**", "a/b/c", true), ("events/**", "events", true), ("events/**", "events/a/b", true),
        ("**/end", "end", true), ("**/end", "a/b/end", true), ("a/**/z", "a/z", true), ("a/**/z", "a/b/c/z", true),
        ("a/**/z", "a/b/c", false), ("*", "a", true), ("*", "a/b", false), ("user-*/x", "user-1/x", true),
        ("user-*/x", "user/x", false), ("*a*b", "xaxxb", true), ("*a*b", "xaxx", false), ("a", "a", true),
        ("a", "A", false), ("**/**", "a", true), ("*/**/*", "a", false), ("*/**/*", "a/b", true), ("a.c", "abc", false),
    ])
    func patternsGoBySegments(pattern: String, name: String, isMatch: Bool) throws {
        #expect(try #require(StreamPattern(pattern)).matches(name) == isMatch)
    }

    @Test func hostilePatternsAreCheap() throws {
        let pattern = try #require(StreamPattern(Array(repeating: "**", count: 32).joined(separator: "/")))
        #expect(pattern.matches(Array(repeating: "a", count: 500).joined(separator: "/")))
        let stars = try #require(StreamPattern(String(repeating: "*a", count: 500) + "b"))
        #expect(!stars.matches(String(repeating: "a", count: 1000)))
        #expect(StreamPattern("") == nil)
        #expect(StreamPattern("a//b") == nil)
        #expect(StreamPattern(Array(repeating: "a", count: 33).joined(separator: "/")) == nil)
    }

    @Test(arguments: [
        "https://worker.example/hooks", "https://worker.example", "https://8.8.8.8:8443/x?y=1",
        "HTTPS://Worker.Example./a",
        "https://[2606:4700::1111]/x",
    ])
    func publicAddressesOfWebhooksPass(text: String) throws {
        let url = try WebhookURL(text, allowsLocalPlain: false)
        #expect(url.isSecure && !url.isLocal)
        #expect(url.target.hasPrefix("/"))
    }

    @Test(arguments: [
        "", "ftp://a.example/", "http://worker.example/", "http://10.0.0.1/hook", "https://10.0.0.1/hook",
        "https://127.0.0.1/", "https://localhost/", "https://a.localhost/", "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0177.0.0.1/",
        "https://169.254.169.254/",
        "https://user:pw@worker.example/", "https://worker.example/#x", "https:///x", "https://worker.example:0/",
        "https://worker.example:99999/", "https://worker.example\\@10.0.0.1/", "https://worker example/",
        "http://[::1]/",
        "http://127.1.0.1/", "https://[1.2.3.4]/", "https://w%6Frker.example/",
    ])
    func otherAddressesOfWebhooksAreRejected(text: String) {
        for allowsLocal in [false, true] {
            let error = #expect(throws: SubscriptionError.self) {
                try WebhookURL(text, allowsLocalPlain: allowsLocal)
            }
            #expect(error?.code == .webhookURLRejected)
        }
    }

    @Test func developmentMayCallItself() throws {
        for text in ["http://localhost:3000/hook", "http://127.0.0.1:3000/hook", "http://127.0.0.53/"] {
            let url = try WebhookURL(text, allowsLocalPlain: true)
            #expect(url.isLocal)
            #expect(url.allows(.v4(0x7F00_0001)))
            #expect(!url.allows(.v4(0x0A00_0001)))
            #expect(throws: SubscriptionError.self) { try WebhookURL(text, allowsLocalPlain: false) }
        }
        #expect(try WebhookURL("http://localhost:3000/hook", allowsLocalPlain: true).port == 3000)
    }

    @Test func whatANameResolvesToIsJudgedAgain() throws {
        let url = try WebhookURL("https://worker.example/", allowsLocalPlain: true)
        #expect(url.allows(.v4(0x0808_0808)))
        #expect(!url.allows(.v4(0x7F00_0001)))
        #expect(!url.allows(.v6(high: 0, low: 1)))
    }

    @Test func signaturesCoverTimeAndBody() {
        let payload = WebhookSignature.payload(timestampSeconds: 1_700_000_000, body: ByteBuffer(string: "{}"))
        #expect(String(buffer: payload) == "1700000000.{}")
        let header = WebhookSignature.header(
            timestampSeconds: 1_700_000_000, keyID: "ds_x", signature: [0xFB, 0xFF, 0x01])
        #expect(header == "t=1700000000,kid=ds_x,ed25519=-_8B")
    }

    @Test(arguments: 0..<20)
    func base64ForURLs(count: Int) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 89 &+ 200) }
        let reference = Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
        #expect(Base64URL.text(bytes) == reference)
    }

    @Test func keysArePublished() throws {
        let key = [UInt8](repeating: 7, count: 32)
        let id = WebhookSignature.keyID(publicKey: key) { _ in [UInt8](repeating: 1, count: 32) }
        #expect(id.hasPrefix("ds_"))
        let response = WebhookSignature.keySet([(id, key)])
        #expect(response.header("content-type") == "application/jwk-set+json")
        #expect(response.header("cache-control") == "public, max-age=300")
        guard case .bytes(let body) = response.body else { return }
        #expect(
            String(buffer: body)
                == "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"\(id)\",\"use\":\"sig\",\"alg\":\"EdDSA\","
                + "\"x\":\"\(Base64URL.text(key))\"}]}")
    }

    @Test func documentsAreReadWithTheirEscapes() throws {
        let value = try #require(
            JSONValue(ByteBuffer(string: " {\"a\\u00e9\\ud83d\\ude00\":[1,-2,true,null,\"\\n\\\"\\/\"],\"b\":{}} ")))
        let list = try #require(value["aé😀"]?.arrayValue)
        #expect(list == [.number("1"), .number("-2"), .bool(true), .null, .string("\n\"/")])
        #expect(value["b"] == .object([:]))
        #expect(JSONValue(ByteBuffer(string: "{} x")) == nil)
        #expect(JSONValue(ByteBuffer(string: "")) == nil)
        #expect(JSONValue(ByteBuffer(string: "[]")) == .array([]))
        #expect(
            JSONValue(ByteBuffer(string: "[[],{\"x\":[{}]}]"))
                == .array([.array([]), .object(["x": .array([.object([:])])])]))
    }
}
