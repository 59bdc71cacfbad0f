#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The system's error numbers that are told apart here.
enum SystemError {
    static let exists = EEXIST
    static let noEntry = ENOENT
    static let tooManyFiles = [EMFILE, ENFILE]
    static let full = [ENOSPC, EDQUOT]
}

func sleepMilliseconds(_ count: UInt32) {
    usleep(count * 1000)
}
