"""Adapters for the APIs of model providers, one module for each way of speaking."""
