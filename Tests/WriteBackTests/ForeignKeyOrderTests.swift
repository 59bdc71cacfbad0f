import Testing

@testable import WriteBack

@Suite("The order of foreign keys")
struct ForeignKeyOrderTests {
    private func change(_ table: String, _ key: String, _ kind: WriteChange.Kind = .insert) -> WriteChange {
        WriteChange(kind: kind, table: table, columns: [.init("id", text: key)])
    }

    private let order = ForeignKeyOrder(references: [
        ("public.c", "public.b"), ("public.b", "public.a"), ("public.b", "public.b"), ("public.x", "public.y"),
        ("public.y", "public.x"),
    ])

    @Test func insertsGoFromParentsToChildrenAndDeletesTheOtherWay() {
        let mixed = [
            self.change("a", "1", .delete), self.change("c", "1"), self.change("b", "1", .delete),
            self.change("b", "2"),
            self.change("a", "2", .update),
        ]
        let sorted = self.order.sorted(mixed) { _ in ["id"] }
        #expect(
            sorted?.map { "\($0.kind.rawValue) \($0.table)" } == [
                "update a", "insert b", "insert c", "delete b", "delete a",
            ])
    }

    @Test func aRowThatIsChangedTwiceKeepsTheClientsOrder() {
        #expect(
            self.order.sorted([self.change("c", "1"), self.change("a", "1"), self.change("a", "1", .delete)]) { _ in
                ["id"]
            } == nil)
    }

    @Test func whatIsInOrderStays() {
        #expect(
            self.order.sorted([self.change("a", "1"), self.change("b", "1"), self.change("a", "2", .delete)]) { _ in
                ["id"]
            } == nil)
        #expect(self.order.sorted([self.change("x", "1"), self.change("elsewhere", "1")]) { _ in ["id"] } != nil)
    }
}
