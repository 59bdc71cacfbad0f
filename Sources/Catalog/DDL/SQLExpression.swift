import ExactText

/// An expression of a DEFAULT, CHECK, GENERATED or index clause.
///
/// Trees come from ``DDLParser``, which bounds their depth.
package indirect enum SQLExpression: Hashable, Sendable {
    case null
    case boolean(Bool)
    /// As written, with its sign.
    case number(String)
    case string(String)
    /// B'...' or X'...', as written.
    case bits(String)
    /// With the table or schema before it, when given.
    case column([String])
    /// The `*` of `count(*)`.
    case allColumns
    case function(name: [String], arguments: [SQLExpression])
    /// A function written without parentheses, upper case: CURRENT_TIMESTAMP and its like.
    case valueFunction(String, precision: Int?)
    case cast(SQLExpression, ColumnType)
    case unary(String, SQLExpression)
    case binary(String, SQLExpression, SQLExpression)
    /// AND of at least two.
    case conjunction([SQLExpression])
    /// OR of at least two.
    case disjunction([SQLExpression])
    case negation(SQLExpression)
    case test(SQLExpression, Truth, isNegated: Bool)
    /// IS [NOT] DISTINCT FROM; `isNegated` is the one with NOT.
    case distinct(SQLExpression, SQLExpression, isNegated: Bool)
    case membership(SQLExpression, [SQLExpression], isNegated: Bool)
    case between(SQLExpression, lower: SQLExpression, upper: SQLExpression, isNegated: Bool)
    case like(SQLExpression, pattern: SQLExpression, escape: SQLExpression?, ignoresCase: Bool, isNegated: Bool)
    /// `left operator ANY (right)`, or ALL.
    case quantified(String, SQLExpression, isAll: Bool, SQLExpression)
    case conditional(operand: SQLExpression?, branches: [Branch], otherwise: SQLExpression?)
    case array([SQLExpression])
    case row([SQLExpression])
    case element(SQLExpression, index: SQLExpression)
    case collated(SQLExpression, collation: [String])
    /// What the parser does not take apart, as written.
    case opaque(String)

    package enum Truth: String, Hashable, Sendable {
        case null = "NULL"
        case `true` = "TRUE"
        case `false` = "FALSE"
        case unknown = "UNKNOWN"
    }

    package struct Branch: Hashable, Sendable {
        package var condition: SQLExpression
        package var result: SQLExpression

        package init(condition: SQLExpression, result: SQLExpression) {
            self.condition = condition
            self.result = result
        }
    }

    /// The columns it refers to.
    package var columnNames: ExactSet {
        var names: ExactSet = []
        self.collectColumns(into: &names)
        return names
    }

    private func collectColumns(into names: inout ExactSet) {
        if case .column(let path) = self {
            if let name = path.last { names.insert(name) }
            return
        }
        for child in self.children { child.collectColumns(into: &names) }
    }

    /// The expressions directly below this one.
    var children: [SQLExpression] {
        switch self {
        case .null, .boolean, .number, .string, .bits, .column, .allColumns, .valueFunction, .opaque: []
        case .function(_, let arguments): arguments
        case .cast(let operand, _), .unary(_, let operand), .negation(let operand), .test(let operand, _, _),
            .collated(let operand, _):
            [operand]
        case .binary(_, let left, let right), .distinct(let left, let right, _), .quantified(_, let left, _, let right),
            .element(let left, let right):
            [left, right]
        case .conjunction(let terms), .disjunction(let terms), .array(let terms), .row(let terms): terms
        case .membership(let operand, let list, _): [operand] + list
        case .between(let operand, let lower, let upper, _): [operand, lower, upper]
        case .like(let operand, let pattern, let escape, _, _): [operand, pattern] + (escape.map { [$0] } ?? [])
        case .conditional(let operand, let branches, let otherwise):
            (operand.map { [$0] } ?? []) + branches.flatMap { [$0.condition, $0.result] }
                + (otherwise.map { [$0] } ?? [])
        }
    }
}
