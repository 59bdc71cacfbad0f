/// The names of the replication slot and the publication.
package enum SlotName {
    package static let publication = "electric_publication"
    private static let prefix = "electric_replication_out_"

    /// The main slot of a database: the fixed prefix and the database's name in lower case, with everything but letters, digits
    /// and underscores replaced, trimmed of underscores and cut so that the whole fits an identifier (63 bytes).
    package static func main(database: String) -> String {
        var name = ""
        for scalar in database.lowercased().unicodeScalars {
            switch scalar {
            case "a"..."z", "0"..."9", "_": name.unicodeScalars.append(scalar)
            default: name.append("_")
            }
        }
        while name.first == "_" { name.removeFirst() }
        while name.last == "_" { name.removeLast() }
        return self.prefix + name.prefix(63 - self.prefix.count)
    }
}
