"""What every route shares: problems, pages, content negotiation, streams."""
