"""Figures of whole splits: of anomalies, clusters, generated and restored pictures, codes."""
