"""The federation for agents of people (GenAI): an MCP server whose tools call the catalog under the caller's own identity."""
