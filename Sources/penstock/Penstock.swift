import ArgumentParser

/// The command.
@main
struct Penstock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "penstock",
        abstract: "Carries changes from Postgres to every device and back.",
        discussion: "Without a subcommand it serves, configured by environment variables.",
        version: "0.1.0",
        subcommands: [
            ServeCommand.self, DevCommand.self, WatchCommand.self, TokenCommand.self, CheckCommand.self,
            SQLCommand.self, StreamsCommand.self,
        ],
        defaultSubcommand: ServeCommand.self)
}
