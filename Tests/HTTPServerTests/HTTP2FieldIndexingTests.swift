import NIOCore
import NIOEmbedded
import NIOHPACK
import NIOHTTP2
import Testing

@testable import HTTPServer

struct HTTP2FieldIndexingTests {
    /// What goes to the connection for an answer with these fields.
    private func sent(_ headers: HPACKHeaders) throws -> HPACKHeaders {
        let channel = EmbeddedChannel(handler: HTTP2FieldIndexing())
        try channel.writeOutbound(HTTP2Frame.FramePayload.headers(.init(headers: headers)))
        guard case .headers(let payload)? = try channel.readOutbound(as: HTTP2Frame.FramePayload.self) else {
            Issue.record("no headers came out")
            return [:]
        }
        _ = try channel.finish()
        return payload.headers
    }

    @Test func fieldsThatDifferFromAnswerToAnswerDoNotFillTheTableOfTheConnection() throws {
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        try encoder.setDynamicTableSize(65_536)
        var sizes: [Int] = []
        var lengths: [Int] = []
        for number in 0..<500 {
            let answer: HPACKHeaders = [
                ":status": "200", "content-type": "application/json", "etag": "\"0:\(number)\"",
                "stream-next-offset": "offset-\(number)", "content-length": "\(number)",
                "access-control-allow-origin": "*",
            ]
            let sent = try self.sent(answer)
            #expect(sent == answer)
            var bytes = ByteBuffer()
            try encoder.encode(headers: sent, to: &bytes)
            sizes.append(encoder.dynamicTableSize)
            lengths.append(bytes.readableBytes)
        }
        #expect(sizes.last == sizes.first)
        #expect(try #require(sizes.first) > 0)
        // What stays the same is sent as an index from the second answer on.
        #expect(lengths[1] < lengths[0])
    }

    @Test func bodiesPassUnchanged() throws {
        let channel = EmbeddedChannel(handler: HTTP2FieldIndexing())
        try channel.writeOutbound(HTTP2Frame.FramePayload.data(.init(data: .byteBuffer(ByteBuffer(string: "body")))))
        guard case .data(let payload)? = try channel.readOutbound(as: HTTP2Frame.FramePayload.self),
            case .byteBuffer(let bytes) = payload.data
        else {
            Issue.record("no data came out")
            return
        }
        #expect(String(buffer: bytes) == "body")
        _ = try channel.finish()
    }
}
