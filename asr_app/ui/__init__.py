"""The page. It submits and observes jobs; no model code, and nothing here outlives a reload but a job's id."""
