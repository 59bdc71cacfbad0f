import DurableStreams
import Foundation
import NIOCore
import Testing

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
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::",
        "::1", "::ffff:10.0.0.1", "::ffff:7f00:1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:a00:1::", "2002:7f00:1::1", "3fff::1", "fc00::1",
        "fd00:ec2::254",
        "fe80::1", "fec0::1", "ff02::1", "5f00::1",
    ])
    func addressesThatAreNotPublic(text: String) throws {
        #expect(try !#require(IPAddress(text)).isPublic)
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1",
        "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808",
        "2002:808:808::1",
    ])
    func addressesThatArePublic(text: String) throws {
        #expect(try #require(IPAddress(text)).isPublic)
    }

    @Test(arguments: [
        "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.x", ":", ":::", "1::2::3", "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9", "12345::", "g::1", "::1.2.3", "1.2.3.4::", "fe80::1%eth0", "1:2:3:4:5:6:7:8::", "::1:",
    ])
    func textsThatAreNoAddresses(text: String) {
        #expect(IPAddress(text) == nil)
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
