"""What people are shown, by the command line and by the catalog on a screen alike: words, columns, tables, trees. Pure."""
