import DurableStreams
import Foundation
import NIOCore
import NIOHTTP1

/// What came back.
struct Answer: Sendable, CustomStringConvertible {
    var status: Int
    var headers: HTTPHeaders
    var body: [UInt8]

    subscript(_ name: String) -> String? { self.headers.first(name: name) }
    var text: String { String(decoding: self.body, as: UTF8.self) }
    var json: JSONValue? { JSONValue(ByteBuffer(bytes: self.body)) }
    var offset: String { self["stream-next-offset"] ?? "none" }
    var isUpToDate: Bool { self["stream-up-to-date"] == "true" }
    var isClosed: Bool { self["stream-closed"] == "true" }
    /// The code of a problem.
    var code: String? { self.json?["code"]?.stringValue }
    /// The code of a refusal of the control API.
    var controlCode: String? { self.json?["error"]?["code"]?.stringValue }
    var description: String {
        "\(self.status) \(self.headers.map { "\($0.name): \($0.value)" }) \(self.text.prefix(200))"
    }
}

/// A client of HTTP/1.1, one connection for each request.
struct StreamClient: Sendable {
    let port: Int
    static let root = "/v1/stream"

    func request(
        _ method: HTTPMethod, _ target: String, _ headers: [String: String] = [:], bytes: [UInt8] = [],
        isChunked: Bool = false, seconds: Double = 15
    ) async throws -> Answer {
        let connection = try await ClientConnection.open(port: self.port)
        let answer = try await Self.exchange(
            connection, method, target, headers, bytes: bytes, isChunked: isChunked, seconds: seconds)
        await connection.close()
        return answer
    }

    func request(
        _ method: HTTPMethod, _ target: String, _ headers: [String: String] = [:], _ body: String
    ) async throws -> Answer {
        try await self.request(method, target, headers, bytes: Array(body.utf8))
    }

    static func head(
        _ method: HTTPMethod, _ target: String, _ headers: [String: String], count: Int, isChunked: Bool = false
    ) -> HTTPRequestHead {
        var fields = HTTPHeaders([("host", "streams.example:4437")])
        for (name, value) in headers { fields.replaceOrAdd(name: name, value: value) }
        if isChunked {
            fields.add(name: "transfer-encoding", value: "chunked")
        } else if count > 0 || method == .POST || method == .PUT {
            fields.add(name: "content-length", value: String(count))
        }
        return HTTPRequestHead(version: .http1_1, method: method, uri: target, headers: fields)
    }

    static func exchange(
        _ connection: ClientConnection, _ method: HTTPMethod, _ target: String, _ headers: [String: String] = [:],
        bytes: [UInt8] = [], isChunked: Bool = false, seconds: Double = 15
    ) async throws -> Answer {
        connection.collector.reset()
        connection.send(Self.head(method, target, headers, count: bytes.count, isChunked: isChunked), body: bytes)
        guard await connection.collector.wait(seconds: seconds, for: { $0.isWhole || $0.isClosed }) else {
            await connection.close()
            throw TestFailure("\(method) \(target): no answer within \(seconds) s")
        }
        let state = connection.collector.state
        guard state.isWhole, let head = state.head else {
            throw TestFailure("\(method) \(target): the connection ended before the answer did")
        }
        return Answer(status: Int(head.status.code), headers: head.headers, body: state.body)
    }

    func stream(_ type: String = "text/plain") -> RemoteStream {
        RemoteStream(client: self, name: "t/" + UUID().uuidString.lowercased(), type: type)
    }

    func stream(named name: String, _ type: String = "text/plain") -> RemoteStream {
        RemoteStream(client: self, name: name, type: type)
    }
}

/// One stream of a server.
struct RemoteStream: Sendable {
    let client: StreamClient
    let name: String
    var type: String

    static let start = "0000000000000000_0000000000000000"
    static let beyond = "9999999999999999_9999999999999999"

    var path: String { StreamClient.root + "/" + self.name }

    func request(
        _ method: HTTPMethod, query: String = "", _ headers: [String: String] = [:], bytes: [UInt8] = [],
        isChunked: Bool = false
    ) async throws -> Answer {
        try await self.client.request(
            method, query.isEmpty ? self.path : self.path + "?" + query, headers, bytes: bytes, isChunked: isChunked)
    }

    /// PUT with the stream's type, unless the headers name another.
    @discardableResult
    func create(_ headers: [String: String] = [:], body: String = "") async throws -> Answer {
        try await self.request(.PUT, self.typed(headers), bytes: Array(body.utf8))
    }

    /// PUT with these headers only.
    func put(_ headers: [String: String], body: String = "") async throws -> Answer {
        try await self.request(.PUT, headers, bytes: Array(body.utf8))
    }

    @discardableResult
    func append(_ body: String, _ headers: [String: String] = [:]) async throws -> Answer {
        try await self.request(.POST, self.typed(headers), bytes: Array(body.utf8))
    }

    @discardableResult
    func append(bytes: [UInt8], _ headers: [String: String] = [:]) async throws -> Answer {
        try await self.request(.POST, self.typed(headers), bytes: bytes)
    }

    /// POST as a producer.
    func produce(
        _ body: String, _ id: String = "p", epoch: String = "0", seq: String, _ headers: [String: String] = [:]
    ) async throws -> Answer {
        var headers = headers
        headers["producer-id"] = id
        headers["producer-epoch"] = epoch
        headers["producer-seq"] = seq
        return try await self.append(body, headers)
    }

    @discardableResult
    func close(_ headers: [String: String] = [:]) async throws -> Answer {
        var headers = headers
        headers["stream-closed"] = "true"
        return try await self.request(.POST, headers)
    }

    func read(_ offset: String? = nil, _ headers: [String: String] = [:]) async throws -> Answer {
        try await self.request(.GET, query: offset.map { "offset=\($0)" } ?? "", headers)
    }

    /// Everything there is, by as many reads as it takes.
    func readAll(from start: String? = nil) async throws -> (bytes: [UInt8], offsets: [String]) {
        var bytes: [UInt8] = []
        var offsets: [String] = []
        var offset = start
        while offsets.count < 10_000 {
            let answer = try await self.read(offset)
            guard answer.status == 200 else { throw TestFailure("\(answer)") }
            bytes += answer.body
            offsets.append(answer.offset)
            offset = answer.offset
            if answer.isUpToDate { return (bytes, offsets) }
        }
        throw TestFailure("the stream never ends")
    }

    func longPoll(_ offset: String, cursor: String? = nil, _ headers: [String: String] = [:]) async throws -> Answer {
        try await self.request(
            .GET, query: "live=long-poll&offset=\(offset)" + (cursor.map { "&cursor=\($0)" } ?? ""), headers)
    }

    func head() async throws -> Answer { try await self.request(.HEAD) }

    @discardableResult
    func delete() async throws -> Answer { try await self.request(.DELETE) }

    func events(
        _ offset: String = "-1", cursor: String? = nil, _ headers: [String: String] = [:]
    ) async throws -> EventReader {
        try await EventReader.open(
            self.client, "\(self.path)?live=sse&offset=\(offset)" + (cursor.map { "&cursor=\($0)" } ?? ""), headers)
    }

    /// Another stream of the same server that forks this one.
    func fork(
        _ headers: [String: String] = [:], type: String? = nil, body: String = ""
    ) async throws -> (stream: RemoteStream, answer: Answer) {
        let fork = self.client.stream(type ?? self.type)
        var headers = headers
        headers["stream-forked-from"] = self.path
        if let type { headers["content-type"] = type }
        return (fork, try await fork.put(headers, body: body))
    }

    private func typed(_ headers: [String: String]) -> [String: String] {
        guard headers.keys.allSatisfy({ $0.lowercased() != "content-type" }) else { return headers }
        var headers = headers
        headers["content-type"] = self.type
        return headers
    }
}
