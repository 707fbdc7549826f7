//! train
mod adamw;
mod input_layer;
mod matmul;
mod norm;
mod params;
mod real;
