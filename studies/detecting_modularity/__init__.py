"""Hod et al. (2021): are the parts of a graph partition important and coherent?"""
