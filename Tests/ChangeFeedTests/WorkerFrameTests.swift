import NIOCore
import PostgresWire
import Testing

@testable import ChangeFeed

@Suite struct WorkerFrameTests {
    private static func frame(_ type: Character, _ payload: ByteBuffer) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt32(payload.readableBytes + 1))
        buffer.writeString(String(type))
        buffer.writeImmutableBuffer(payload)
        return buffer
    }

    private static var hello: ByteBuffer {
        var payload = ByteBuffer()
        payload.writeMultipleIntegers(UInt16(1), UInt16(0), UInt64(42), UInt32(1), UInt32(150_020), UInt32(99))
        payload.writeMultipleIntegers(UInt8(1), UInt64(100), UInt64(90), UInt64(120), UInt64(700))
        for text in ["app", "electric_replication_out_app", "1.0"] {
            payload.writeInteger(UInt16(text.utf8.count))
            payload.writeString(text)
        }
        return Self.frame("H", payload)
    }

    @Test func helloIsRead() throws {
        var buffer = Self.hello
        guard case .hello(let hello) = try WorkerFrame.next(from: &buffer) else {
            Issue.record("not a hello")
            return
        }
        #expect(hello.systemIdentifier == 42)
        #expect(hello.slotState == .present)
        #expect(hello.slotConfirmed == LSN(rawValue: 100))
        #expect(hello.nextXID == 700)
        #expect(hello.database == "app")
        #expect(hello.extensionVersion == "1.0")
        #expect(buffer.readableBytes == 0)
    }

    @Test func framesComeWholeHoweverTheyAreCut() throws {
        var script = Self.hello
        var message = Self.frame("M", ByteBuffer(string: "payload"))
        script.writeBuffer(&message)
        let bytes = Array(script.readableBytesView)
        for cut in 1..<bytes.count {
            var buffer = ByteBuffer(bytes: bytes[..<cut])
            var frames: [WorkerFrame.Incoming] = []
            while let frame = try WorkerFrame.next(from: &buffer) { frames.append(frame) }
            buffer.writeBytes(bytes[cut...])
            while let frame = try WorkerFrame.next(from: &buffer) { frames.append(frame) }
            #expect(frames.count == 2)
            #expect(frames.last == .message(ByteBuffer(string: "payload")))
        }
    }

    @Test func anotherProtocolVersionIsRefusedWithAHint() {
        var payload = ByteBuffer()
        payload.writeMultipleIntegers(UInt16(9), UInt16(0))
        var buffer = Self.frame("H", payload)
        #expect { try WorkerFrame.next(from: &buffer) } throws: { "\($0)".contains("protocol version 9") }
    }

    @Test func nonsenseIsRefused() {
        let frames = [
            Self.frame("?", ByteBuffer()), Self.frame("K", ByteBuffer(string: "short")), Self.frame("H", ByteBuffer()),
            Self.frame("E", ByteBuffer(string: "x")), ByteBuffer(bytes: [0, 0, 0, 0, 1]),
            ByteBuffer(bytes: [0xFF, 0xFF, 0xFF, 0xFF, UInt8(ascii: "M")]),
            ByteBuffer(bytes: [0, 2, 0, 0, UInt8(ascii: "K")]),
        ]
        for frame in frames {
            var buffer = frame
            #expect(throws: WorkerFrame.ProtocolError.self) { try WorkerFrame.next(from: &buffer) }
        }
    }

    @Test func startHasTheDocumentedLayout() {
        var buffer = ByteBuffer()
        WorkerFrame.write(.start(from: LSN(rawValue: 5), protocolVersion: 1, publication: "\"p\""), to: &buffer)
        #expect(
            Array(buffer.readableBytesView) == [
                0, 0, 0, 18, 0x53, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 1, 1, 0, 3, 0x22, 0x70, 0x22,
            ])
    }
}
