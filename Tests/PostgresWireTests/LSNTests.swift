import PostgresWire
import Testing

@Suite struct LSNTests {
    @Test(arguments: [("0/0", 0), ("0/16B3748", 0x16B_3748), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/FFFFFFFF", UInt64.max)])
    func textRoundTrips(_ text: String, _ value: UInt64) throws {
        let lsn = try #require(LSN(text))
        #expect(lsn.rawValue == value)
        #expect(lsn.description == text)
    }

    @Test(arguments: ["", "0", "0/", "/0", "0/0/0", "g/0", "0/-1", "123456789/0", " 0/0", "+1/0"])
    func otherTextIsRefused(_ text: String) {
        #expect(LSN(text) == nil)
    }

    @Test func distanceIsNeverNegative() {
        #expect(LSN(rawValue: 10).distance(from: LSN(rawValue: 4)) == 6)
        #expect(LSN(rawValue: 4).distance(from: LSN(rawValue: 10)) == 0)
    }
}

@Suite struct TransactionIDTests {
    @Test func narrowIDIsWidenedToTheNearestOfTheReference() {
        #expect(TransactionID.widen(700, near: 690) == 700)
        #expect(TransactionID.widen(5, near: 0x1_FFFF_FFF0) == 0x2_0000_0005)
        #expect(TransactionID.widen(0xFFFF_FFF0, near: 0x2_0000_0005) == 0x1_FFFF_FFF0)
        #expect(TransactionID.widen(0xFFFF_FFF0, near: 3) == 0xFFFF_FFF0)
    }

    @Test func snapshotSeesWhatHadFinished() throws {
        let snapshot = try #require(TransactionSnapshot("10:20:12,15"))
        #expect(snapshot.sees(9))
        #expect(snapshot.sees(11))
        #expect(!snapshot.sees(12))
        #expect(!snapshot.sees(15))
        #expect(snapshot.sees(19))
        #expect(!snapshot.sees(20))
        #expect(TransactionSnapshot("10:10:") == TransactionSnapshot(xmin: 10, xmax: 10, running: []))
        #expect(TransactionSnapshot("10") == nil)
        #expect(TransactionSnapshot("10:20:x") == nil)
    }
}
