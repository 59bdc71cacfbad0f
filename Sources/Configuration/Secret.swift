/// A text that must not be printed: passwords, keys, connection secrets.
///
/// It prints as `[secret]` however it is printed; ``reveal()`` is the one way to the text.
package struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    private let text: String

    package init(_ text: String) {
        self.text = text
    }

    /// The text itself, for the place that needs it.
    package func reveal() -> String { self.text }

    package var description: String { "[secret]" }
    package var debugDescription: String { "[secret]" }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
