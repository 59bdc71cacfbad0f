import NIOCore
import PostgresWire
import Testing

@testable import ChangeFeed

@Suite struct MessageRunTests {
    private func framed(_ messages: [ByteBuffer]) -> ByteBuffer {
        var buffer = ByteBuffer()
        for message in messages {
            buffer.writeInteger(UInt32(message.readableBytes + 1))
            buffer.writeString("M")
            buffer.writeImmutableBuffer(message)
        }
        return buffer
    }

    private func outputs(
        _ messages: [ByteBuffer], pieceLimit: Int,
        take: (inout TransactionAssembler, inout [TransactionAssembler.Output]) throws -> Void
    ) rethrows -> [TransactionAssembler.Output] {
        var assembler = TransactionAssembler(
            pieceLimit: pieceLimit, relations: [:], lastCommitLSN: LSN(rawValue: 50), referenceXID: 0)
        var outputs: [TransactionAssembler.Output] = []
        try take(&assembler, &outputs)
        return outputs
    }

    /// The bulk path gives what the path for single messages gives, however the run is cut and framed.
    @Test(arguments: [1, 60, 100, 1 << 20])
    func bulkIsTheSameAsOneByOne(_ pieceLimit: Int) throws {
        let wide = StreamScript.itemsWithContent
        let messages =
            StreamScript.transaction(40, xid: 6, ["known"], describing: true)
            + StreamScript.transaction(100, xid: 7, (0..<20).map { "\($0)" }, describing: true)
            + [StreamScript.begin(200, xid: 8), StreamScript.insert("x"), StreamScript.relation(wide)]
            + (0..<9).map { StreamScript.insert("wide \($0)", into: wide) } + [StreamScript.commit(200, end: 210)]
        let oneByOne = try self.outputs(messages, pieceLimit: pieceLimit) { assembler, outputs in
            for message in messages { try assembler.receive(message, into: &outputs) }
        }
        for size in [1, 2, 5, messages.count] {
            let plain = try self.outputs(messages, pieceLimit: pieceLimit) { assembler, outputs in
                for start in stride(from: 0, to: messages.count, by: size) {
                    let run = MessageRun(Array(messages[start..<min(start + size, messages.count)]))
                    try assembler.receive(run, into: &outputs)
                }
            }
            #expect(plain == oneByOne)
            let worker = try self.outputs(messages, pieceLimit: pieceLimit) { assembler, outputs in
                for start in stride(from: 0, to: messages.count, by: size) {
                    let bytes = self.framed(Array(messages[start..<min(start + size, messages.count)]))
                    try assembler.receive(MessageRun(bytes: bytes, framing: .worker), into: &outputs)
                }
            }
            #expect(worker == oneByOne)
        }
    }

    @Test func framesAreTakenWholeHoweverTheyAreCut() throws {
        let messages = StreamScript.transaction(100, xid: 7, ["a", "b"], describing: true)
        let bytes = Array(self.framed(messages).readableBytesView)
        for cut in 0...bytes.count {
            var taken = ByteBuffer()
            var rest = ByteBuffer(bytes: bytes[..<cut])
            if let run = try WorkerFrame.messages(from: &rest) { taken.writeImmutableBuffer(run.bytes) }
            rest.writeBytes(bytes[cut...])
            if let run = try WorkerFrame.messages(from: &rest) { taken.writeImmutableBuffer(run.bytes) }
            #expect(Array(taken.readableBytesView) == bytes)
            #expect(rest.readableBytes == 0)
        }
    }

    @Test func malformedRunIsRefused() throws {
        let begin = StreamScript.begin(100, xid: 7)
        for length in [UInt32(0), 5, 1_000, .max] {
            for framing in [MessageRun.Framing.plain, .worker] {
                var bytes = framing == .worker ? self.framed([begin]) : MessageRun([begin]).bytes
                bytes.writeInteger(length)
                if framing == .worker { bytes.writeString("M") }
                bytes.writeString("I")
                #expect(throws: ReplicationDecodingError.self) {
                    try self.outputs([], pieceLimit: 100) { assembler, outputs in
                        try assembler.receive(MessageRun(bytes: bytes, framing: framing), into: &outputs)
                    }
                }
            }
        }
    }

    @Test func absurdFrameLengthIsRefusedBeforeItIsAwaited() {
        for length in [UInt32(0), WorkerFrame.maximumLength + 1] {
            var buffer = ByteBuffer()
            buffer.writeInteger(length)
            buffer.writeString("M")
            #expect(throws: WorkerFrame.ProtocolError.self) { try WorkerFrame.messages(from: &buffer) }
        }
    }
}
