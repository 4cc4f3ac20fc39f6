"""Lu & Ester (2019), "Checking Functional Modularity in DNN By Biclustering Task-specific Hidden Neurons"."""
