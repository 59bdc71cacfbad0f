// Tests run programs too, and get the means with the rest of their support.
@_exported import ChildProcesses

/// A failure of the test's own machinery.
package struct TestSupportError: Error, CustomStringConvertible {
    package var description: String

    package init(_ description: String) {
        self.description = description
    }
}
