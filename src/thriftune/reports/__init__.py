"""Everything that a person looks at: page, charts, figures, summaries."""
