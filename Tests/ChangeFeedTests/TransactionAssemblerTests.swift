import NIOCore
import PostgresWire
import Testing

@testable import ChangeFeed

@Suite struct TransactionAssemblerTests {
    private func feed(_ assembler: inout TransactionAssembler, _ messages: [ByteBuffer]) throws -> [TransactionAssembler
        .Output]
    {
        var outputs: [TransactionAssembler.Output] = []
        for message in messages { try assembler.receive(message, into: &outputs) }
        return outputs
    }

    private func assembler(pieceLimit: Int = 1 << 20, last: UInt64 = 0, relations: [UInt32: Relation] = [:])
        -> TransactionAssembler
    {
        TransactionAssembler(
            pieceLimit: pieceLimit, relations: relations, lastCommitLSN: LSN(rawValue: last),
            referenceXID: 0x1_0000_0000)
    }

    @Test func transactionIsGivenOutWholeAtItsCommit() throws {
        var assembler = self.assembler()
        let outputs = try self.feed(&assembler, StreamScript.transaction(100, xid: 7, ["a", "b"], describing: true))
        #expect(outputs.count == 2)
        guard case .transaction(let transaction) = outputs[0], case .definition(StreamScript.items, _) = outputs[1]
        else {
            Issue.record("unexpected \(outputs)")
            return
        }
        #expect(transaction.header.endLSN == LSN(rawValue: 110))
        #expect(transaction.header.xid == 0x1_0000_0007)
        #expect(transaction.relations.isEmpty, "the definition came inside, so it is part of the piece")
        #expect(try StreamScript.values(of: transaction.piece) == ["a", "b"])
    }

    @Test func repeatedDefinitionIsNoNews() throws {
        var assembler = self.assembler(relations: [StreamScript.items.oid: StreamScript.items])
        let outputs = try self.feed(&assembler, StreamScript.transaction(100, xid: 7, ["a"], describing: true))
        #expect(outputs.count == 1)
        guard case .transaction(let transaction) = outputs[0] else {
            Issue.record("unexpected \(outputs)")
            return
        }
        #expect(transaction.relations == [StreamScript.items.oid: StreamScript.items])
    }

    @Test func changedDefinitionInsideATransactionStaysInOrder() throws {
        var assembler = self.assembler(relations: [StreamScript.items.oid: StreamScript.items])
        let wide = StreamScript.itemsWithContent
        let outputs = try self.feed(
            &assembler,
            [
                StreamScript.begin(100, xid: 7), StreamScript.insert("a"), StreamScript.relation(wide),
                StreamScript.insert("b", into: wide), StreamScript.commit(100, end: 110),
            ])
        guard case .transaction(let transaction) = outputs.first else {
            Issue.record("unexpected \(outputs)")
            return
        }
        #expect(transaction.relations[StreamScript.items.oid] == StreamScript.items)
        var order: [String] = []
        try transaction.piece.forEachMessage { message in
            switch try ReplicationMessage.decode(message) {
            case .insert(let insert): order.append("insert \(insert.new.count)")
            case .relation(let relation, _): order.append("relation \(relation.columns.count)")
            default: order.append("?")
            }
        }
        #expect(order == ["insert 1", "relation 2", "insert 2"])
        #expect(assembler.relations[StreamScript.items.oid] == wide)
    }

    @Test func knownTransactionIsDropped() throws {
        var assembler = self.assembler(last: 100)
        let outputs = try self.feed(
            &assembler, StreamScript.transaction(100, xid: 7, ["a"]) + StreamScript.transaction(200, xid: 8, ["b"]))
        guard outputs.count == 2, case .skipped(let header, _) = outputs[0], case .transaction(let second) = outputs[1]
        else {
            Issue.record("unexpected \(outputs)")
            return
        }
        #expect(header.commitLSN == LSN(rawValue: 100))
        #expect(second.header.commitLSN == LSN(rawValue: 200))
    }

    @Test func emptyTransactionOnlyMovesThePosition() throws {
        var assembler = self.assembler()
        let outputs = try self.feed(&assembler, StreamScript.transaction(100, xid: 7, []))
        guard outputs.count == 1, case .skipped(let header, _) = outputs[0] else {
            Issue.record("unexpected \(outputs)")
            return
        }
        #expect(header.endLSN == LSN(rawValue: 110))
    }

    @Test func largeTransactionComesInPieces() throws {
        var assembler = self.assembler(pieceLimit: 64)
        let values = (0..<20).map { "value \($0)" }
        let outputs = try self.feed(&assembler, StreamScript.transaction(100, xid: 7, values))
        var seen: [String] = []
        var ordinals: [UInt32] = []
        for output in outputs {
            switch output {
            case .piece(let finalLSN, let ordinal, let piece):
                #expect(finalLSN == LSN(rawValue: 100))
                ordinals.append(ordinal)
                seen += try StreamScript.values(of: piece)
            case .largeTransaction(let header, _, let pieces, let rest):
                #expect(header.endLSN == LSN(rawValue: 110))
                #expect(Int(pieces) == ordinals.count)
                seen += try StreamScript.values(of: rest)
            default:
                Issue.record("unexpected \(output)")
            }
        }
        #expect(ordinals == Array(0..<UInt32(ordinals.count)))
        #expect(ordinals.count > 3)
        #expect(seen == values)
    }

    @Test func restartOfTheTransportForgetsTheHalfTransaction() throws {
        var assembler = self.assembler()
        let half = StreamScript.transaction(100, xid: 7, ["a", "b"]).dropLast(2)
        let early = try self.feed(&assembler, Array(half))
        #expect(early.isEmpty)
        assembler.transportRestarted(referenceXID: 0)
        let outputs = try self.feed(&assembler, StreamScript.transaction(100, xid: 7, ["a", "b"]))
        guard case .transaction(let transaction) = outputs.first else {
            Issue.record("unexpected \(outputs)")
            return
        }
        #expect(try StreamScript.values(of: transaction.piece) == ["a", "b"])
    }

    @Test func nonsenseInTheStreamIsAnError() {
        let scripts: [[ByteBuffer]] = [
            [StreamScript.insert("a")],
            [StreamScript.commit(100, end: 110)],
            [StreamScript.begin(100, xid: 7), StreamScript.begin(200, xid: 8)],
            [StreamScript.begin(100, xid: 7), StreamScript.commit(200, end: 210)],
            [StreamScript.begin(100, xid: 7), StreamScript.commit(100, end: 100)],
            [ByteBuffer(string: "?")],
            [ByteBuffer()],
        ]
        for script in scripts {
            var assembler = self.assembler()
            #expect(throws: ReplicationDecodingError.self) { try self.feed(&assembler, script) }
        }
    }
}
