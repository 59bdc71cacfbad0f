/// A piece of a statement. Positions are byte offsets into the text.
struct DDLToken: Hashable {
    enum Kind: Hashable {
        /// An unquoted name or keyword, folded to lower case.
        case word(String)
        /// A name in double quotes.
        case quotedName(String)
        case string(String)
        /// `B'...'` or `X'...'`, as written.
        case bits(String)
        case number(String)
        /// `$1`.
        case parameter(String)
        /// An operator.
        case symbol(String)
        /// One of `( ) [ ] , ; . :`, and `::`, `:=`, `=>`, `..`.
        case punctuation(String)
        case end
    }

    var kind: Kind
    var start: Int
    var end: Int

    var word: String? { if case .word(let word) = self.kind { word } else { nil } }

    func isWord(_ word: String) -> Bool { self.word == word }

    func isPunctuation(_ text: String) -> Bool {
        if case .punctuation(let own) = self.kind { own == text } else { false }
    }

    func isSymbol(_ text: String) -> Bool {
        if case .symbol(let own) = self.kind { own == text } else { false }
    }
}
