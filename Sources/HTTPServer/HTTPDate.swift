import NIOCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The `Date` field of responses (RFC 9110, section 6.6.1), made once a second by the ticker of an event loop and shared by the
/// connections on it.
final class HTTPDate: Sendable {
    /// Since 1970.
    let seconds: Int64
    /// Such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    let value: String
    /// The whole field as a line of HTTP/1.
    let line: ByteBuffer

    init(seconds: Int64) {
        self.seconds = seconds
        self.value = Self.text(seconds)
        self.line = ByteBuffer(string: "date: \(self.value)\r\n")
    }

    static var secondsNow: Int64 { Int64(time(nil)) }
    static var now: HTTPDate { HTTPDate(seconds: Self.secondsNow) }

    private static let dayNames = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let monthNames = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// An IMF-fixdate (RFC 9110, section 5.6.7), which has four digits for the year.
    static func text(_ seconds: Int64) -> String {
        // The first second of year 0, and the last of year 9999.
        let seconds = min(max(seconds, -62_167_219_200), 253_402_300_799)
        let day = seconds >= 0 ? seconds / 86_400 : (seconds - 86_399) / 86_400
        let second = Int(seconds - day * 86_400)
        // Counted from the first of March of year 0, so that a leap day ends its year, in blocks of 400 years.
        let shifted = Int(day) + 719_468
        let block = shifted >= 0 ? shifted / 146_097 : (shifted - 146_096) / 146_097
        let dayOfBlock = shifted - block * 146_097
        let yearOfBlock = (dayOfBlock - dayOfBlock / 1_460 + dayOfBlock / 36_524 - dayOfBlock / 146_096) / 365
        let dayOfYear = dayOfBlock - (365 * yearOfBlock + yearOfBlock / 4 - yearOfBlock / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let dayOfMonth = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = (monthFromMarch + 2) % 12
        let year = block * 400 + yearOfBlock + (month < 2 ? 1 : 0)
        let dayOfWeek = Int((day % 7 + 7) % 7)
        return "\(Self.dayNames[dayOfWeek]), \(Self.padded(dayOfMonth, 2)) \(Self.monthNames[month]) "
            + "\(Self.padded(year, 4)) \(Self.padded(second / 3_600, 2)):\(Self.padded(second / 60 % 60, 2)):"
            + "\(Self.padded(second % 60, 2)) GMT"
    }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
