"""Lange, Rolnick & Kording (2022), "Clustering units in neural networks: upstream vs downstream information"."""
