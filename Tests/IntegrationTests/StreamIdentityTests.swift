import Foundation
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

/// Claims as header fields, through the real program.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StreamIdentityTests {
    private func serve(_ party: TokenParty, _ fields: String) async throws -> StreamProcess {
        let server = try StreamProcess(
            mode: "memory",
            environment: [
                "DS_AUTH__MODE": "jwt", "DS_AUTH__STATIC_KEY": party.keySet, "DS_AUTH__ALGORITHMS": "ES256",
                "DS_AUTH__CLAIM_HEADERS": fields, "DS_OBSERVABILITY__LOG_FORMAT": "json",
                "DS_OBSERVABILITY__REQUEST_LOG": "true",
            ])
        try server.launch()
        try await server.waitUntilReady()
        return server
    }

    @Test func theSubjectIsOnTheAnswerAndInTheLogAndForgedOnesAreNot() async throws {
        let party = TokenParty()
        let server = try await self.serve(party, "sub=X-JWT-Sub, org.id=X-Org")
        let alice = ("authorization", "Bearer \(try party.token())")
        let forged = ("x-jwt-sub", "mallory")
        let text = ("content-type", "text/plain")
        let answers = [
            try await server.request(.PUT, "a", headers: [alice, forged, text], body: "one"),
            try await server.request(.POST, "a", headers: [alice, ("X-Org", "mallory"), text], body: "two"),
            try await server.request(.GET, "a?offset=-1", headers: [alice]),
            try await server.request(.HEAD, "a", headers: [alice]),
            try await server.request(.GET, "a?offset=now&live=long-poll", headers: [alice]),
            try await server.request(.GET, "missing", headers: [alice]),
        ]
        #expect(answers.map(\.status) == [201, 204, 200, 200, 204, 404])
        for answer in answers {
            #expect(answer.headers["x-jwt-sub"] == ["alice"])
            #expect(answer.headers["x-org"].isEmpty)
        }
        let refused = try await server.request(.GET, "a", headers: [forged])
        #expect(refused.status == 401 && refused.headers["x-jwt-sub"].isEmpty)
        // One that ends at once, with its head and its events.
        #expect(try await server.request(.POST, "a", headers: [alice, ("stream-closed", "true")]).status == 204)
        let events = try await server.request(.GET, "a?offset=-1&live=sse", headers: [alice, forged])
        #expect(events.headers["x-jwt-sub"] == ["alice"])
        #expect(server.end(SIGTERM) == 0)
        let lines = try server.log.split(separator: "\n").compactMap {
            try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }.filter { $0["message"] as? String == "request" && ($0["url.path"] as? String)?.hasPrefix("/v1/") == true }
        #expect(lines.count == 9)
        for line in lines {
            let isRefused = line["http.response.status_code"] as? Int == 401
            #expect(line["http.request.header.x-jwt-sub"] as? String == (isRefused ? nil : "alice"))
        }
        #expect(!server.log.contains("mallory"))
    }

    @Test func aProducerIsWhoeverTheTokenSays() async throws {
        let party = TokenParty()
        let server = try await self.serve(party, "sub=Producer-Id")
        func append(_ subject: String, _ seq: String, _ body: String) async throws -> StreamProcess.Answer {
            try await server.request(
                .POST, "a",
                headers: [
                    ("authorization", "Bearer \(try party.token(subject: subject))"), ("content-type", "text/plain"),
                    ("producer-id", "alice"), ("producer-epoch", "0"), ("producer-seq", seq),
                ], body: body)
        }
        let alice = [("authorization", "Bearer \(try party.token())")]
        #expect(try await server.request(.PUT, "a", headers: alice + [("content-type", "text/plain")]).status == 201)
        #expect(try await append("alice", "0", "one").status == 200)
        #expect(try await append("alice", "0", "one").status == 204)
        // Says that it is alice, and would be taken for a repeat if it were believed.
        #expect(try await append("bob", "0", "two").status == 200)
        #expect(try await append("bob", "2", "three").status == 409)
        #expect(String(buffer: try await server.request(.GET, "a", headers: alice).body) == "onetwo")
        server.end(SIGTERM)
    }

    @Test func aTokenThatIsTakenAfterItsEndLetsItsReaderWait() async throws {
        let party = TokenParty()
        let server = try StreamProcess(
            mode: "memory",
            environment: [
                "DS_AUTH__MODE": "jwt", "DS_AUTH__STATIC_KEY": party.keySet, "DS_AUTH__ALGORITHMS": "ES256",
                "DS_AUTH__CLOCK_SKEW_SECS": "600", "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "60",
            ])
        try await server.whileRunning {
            let late = ("authorization", "Bearer \(try party.token(secondsLeft: -30))")
            let text = ("content-type", "text/plain")
            #expect(try await server.request(.PUT, "a", headers: [late, text]).status == 201)
            async let news = server.request(.GET, "a?offset=now&live=long-poll", headers: [late])
            try await eventually("the reader waits", within: .seconds(9)) {
                String(buffer: try await server.request(.GET, "/metrics").body).contains("streams_live_readers 1\n")
            }
            #expect(try await server.request(.POST, "a", headers: [late, text], body: "one").status == 204)
            #expect(String(buffer: try await news.body) == "one")
        }
    }
}
