import NIOCore
import SwiftProtobuf
import Testing

@testable import Satellite

@Suite("Messages and frames")
struct SatelliteMessageTests {
    static let everyMessage: [SatelliteMessage] = [
        .error(.init(.invalidRequest, "no", lsn: ByteBuffer(bytes: [0, 0, 0, 1]))),
        .opLog(.init()), .relation(.init()), .subscriptionDataError(.init()), .subscriptionDataBegin(.init()),
        .subscriptionDataEnd(.init()), .shapeDataBegin(.init()), .shapeDataEnd(.init()), .rpcRequest(.init()),
        .rpcResponse(.init()), .opLogAck(.init()), .unsubscriptionDataBegin(.init()), .unsubscriptionDataEnd(.init()),
    ]

    @Test(arguments: everyMessage)
    func everyMessageSurvivesARoundTrip(message: SatelliteMessage) throws {
        #expect(try SatelliteMessage.decode(message.encoded()) == message)
    }

    @Test func everyCodeIsCovered() {
        #expect(Set(Self.everyMessage.map(\.code)) == Set(SatelliteMessage.Code.allCases))
    }

    @Test func retiredAndUnknownCodesAreRefused() {
        let known = Set(SatelliteMessage.Code.allCases.map(\.rawValue))
        for byte in UInt8.min...UInt8.max where !known.contains(byte) {
            #expect(throws: SatelliteMessage.DecodingError.unknownCode(byte)) {
                try SatelliteMessage.decode(ByteBuffer(bytes: [byte]))
            }
        }
        #expect(throws: SatelliteMessage.DecodingError.empty) { try SatelliteMessage.decode(ByteBuffer()) }
        #expect(throws: SatelliteMessage.DecodingError.malformed(.opLog)) {
            try SatelliteMessage.decode(ByteBuffer(bytes: [9, 0x0a, 0x7f]))
        }
    }

    @Test func authenticationResponseHasTheDocumentedBytes() {
        var payload = Electric_Satellite_SatAuthResp()
        payload.id = "abc"
        let bytes = SatelliteMessage.response("authenticate", id: 1, payload).encoded()
        let expected: [UInt8] =
            [0x16, 0x0a, 0x0c] + Array("authenticate".utf8) + [0x10, 0x01, 0x1a, 0x05, 0x0a, 0x03] + Array("abc".utf8)
        #expect(Array(bytes.readableBytesView) == expected)
    }

    @Test func emptyResponsePayloadIsStillWritten() {
        let bytes = SatelliteMessage.response(
            "unsubscribe", id: 2, Electric_Satellite_SatUnsubsResp()
        ).encoded()
        #expect(Array(bytes.readableBytesView).suffix(2) == [0x1a, 0x00])
    }

    @Test func firstStartRequestOfTheServerIsItsMethodAlone() {
        let bytes = SatelliteMessage.request(
            .startReplication, id: 0, Electric_Satellite_SatInStartReplicationReq()
        ).encoded()
        #expect(Array(bytes.readableBytesView) == [0x15, 0x0a, 0x10] + Array("startReplication".utf8))
    }

    @Test func emptyMessageIsItsTypeByte() {
        #expect(Array(SatelliteMessage.subscriptionDataEnd(.init()).encoded().readableBytesView) == [0x10])
        #expect(Array(FrameBatch(.subscriptionDataEnd(.init())).webSocket.readableBytesView) == [0x82, 0x01, 0x10])
    }

    @Test(arguments: [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
    func frameHeadersHaveTheShortestLengthForm(length: Int) {
        var batch = FrameBatch()
        batch.appendFrame(payloadLength: length) { $0.writeRepeatingByte(7, count: length) }
        let header = length < 126 ? 2 : length <= 65_535 ? 4 : 10
        #expect(batch.byteCount == header + length)
        #expect(batch.payloads == [ByteBuffer(repeating: 7, count: length)])
    }

    @Test func batchesAreJoinedWithTheirRanges() {
        var batch = FrameBatch(.shapeDataEnd(.init()))
        batch.append(FrameBatch([.subscriptionDataEnd(.init()), .error(.init(.internal, "x"))]))
        #expect(batch.messageCount == 3)
        #expect(batch.payloads.map { $0.getInteger(at: $0.readerIndex, as: UInt8.self) } == [18, 16, 0])
    }
}
