import ExactText
import Testing

@Suite("Texts told apart by their bytes")
struct ExactTextTests {
    private static let composed = "caf\u{e9}"
    private static let decomposed = "cafe\u{301}"

    @Test("Equivalent texts of other bytes are two")
    func equivalentTextsDiffer() {
        // What makes the types needed.
        #expect(Self.composed == Self.decomposed)
        #expect(!Self.composed.isExactly(Self.decomposed))
        #expect(ExactText(Self.composed) != ExactText(Self.decomposed))
        #expect(Self.composed.isExactly("caf" + "\u{e9}"))
        #expect(!"\u{212a}".isExactly("K"))
    }

    @Test("The order is that of the bytes")
    func theOrderIsThatOfTheBytes() {
        let sorted = [Self.composed, "z", Self.decomposed, "cafz", ""].sortedExactly()
        #expect(sorted.map { Array($0.utf8) } == ["", Self.decomposed, "cafz", Self.composed, "z"].map { Array($0.utf8) })
        #expect(ExactText(Self.decomposed) < ExactText(Self.composed))
        #expect(!(ExactText("a") < ExactText("a")))
    }

    @Test("A prefix need not end where a letter does")
    func prefixesAreOfBytes() {
        #expect(Self.decomposed.hasExactPrefix("cafe"))
        #expect(!Self.composed.hasExactPrefix("cafe"))
        #expect("__ds/\u{301}x".hasExactPrefix("__ds/"))
    }

    @Test("A dictionary keeps a value for each")
    func dictionary() {
        var dictionary: ExactDictionary<Int> = [:]
        dictionary[Self.composed] = 1
        dictionary[Self.decomposed, default: 40] += 2
        #expect(dictionary.count == 2)
        #expect(dictionary[Self.composed] == 1)
        #expect(dictionary[Self.decomposed] == 42)
        #expect(dictionary.sortedByKey().map(\.value) == [42, 1])
        #expect(dictionary.removeValue(forKey: Self.composed) == 1)
        #expect(dictionary.map(\.value) == [42])
        dictionary[Self.decomposed] = nil
        #expect(dictionary.isEmpty)
    }

    @Test("A set holds both")
    func set() {
        var set: ExactSet = [Self.composed, Self.decomposed]
        #expect(set.count == 2)
        #expect(set.insert("caf\u{e9}").inserted == false)
        set.remove(Self.composed)
        #expect(!set.contains(Self.composed))
        #expect(set.contains(Self.decomposed))
        #expect(ExactSet([Self.composed]).isDisjoint(with: [Self.decomposed]))
        #expect(ExactSet([Self.composed]).intersection([Self.decomposed]).isEmpty)
    }

    @Test("Types with such texts compare their bytes")
    func wrappedProperties() {
        struct Named: Hashable {
            @ExactText var name: String
        }
        #expect(Named(name: Self.composed) != Named(name: Self.decomposed))
        #expect(Set([Named(name: Self.composed), Named(name: Self.decomposed), Named(name: "caf\u{e9}")]).count == 2)
    }

    @Test("Texts longer than what fits beside a pointer are hashed as a whole", arguments: [1, 15, 16, 17, 200])
    func longTexts(count: Int) {
        let text = String(repeating: "n", count: count)
        var set = ExactSet()
        for last in ["a", "b", "\u{e9}", "e\u{301}"] { set.insert(text + last) }
        #expect(set.count == 4)
        #expect(set.contains(String(decoding: Array((text + "b").utf8), as: UTF8.self)))
    }
}
