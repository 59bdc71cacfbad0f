/// The number of one stream, given at its creation and never given again.
///
/// A stream that was deleted and created anew under the same name has another identity, so whatever is derived from it
/// (entity tags, references of forks) can not be confused.
package struct StreamIdentity: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    package static func < (lhs: StreamIdentity, rhs: StreamIdentity) -> Bool {
        lhs.rawValue < rhs.rawValue
    }
}
