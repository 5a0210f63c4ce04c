"""Correcting lines of a result, and the figures that corrections give: HTML for assets/correct.js."""
