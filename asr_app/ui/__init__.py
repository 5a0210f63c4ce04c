"""The page. It submits and observes jobs. No model code; nothing here outlives a reload but ids of jobs and choices."""
