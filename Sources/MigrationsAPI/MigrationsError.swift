/// Why a bundle of migrations could not be made.
package struct MigrationsError: Error, Hashable, Sendable, CustomStringConvertible {
    package struct Code: Hashable, Sendable {
        private enum Base { case invalidVersion, tooLarge, compression }
        private var base: Base
        private init(_ base: Base) { self.base = base }

        /// A version that cannot be the name of a folder.
        package static let invalidVersion = Code(.invalidVersion)
        /// More members or bytes than the format holds.
        package static let tooLarge = Code(.tooLarge)
        /// The compression library failed, which means that memory ran out.
        package static let compression = Code(.compression)
    }

    package var code: Code
    package var message: String

    package static func == (left: Self, right: Self) -> Bool { left.code == right.code }
    package func hash(into hasher: inout Hasher) { hasher.combine(self.code) }

    package var description: String { self.message }
}
